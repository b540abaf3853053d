//! What a client asks: the two request bodies, read down to what matters to an engine.
//!
//! Fields that only change the text of an answer (temperature, stop words, tools) are passed over.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::failure::Failure;
use super::prompt::Prompt;

/// Which of the two ways of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completion,
}

/// A request that makes sense in itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) form: Form,
    /// `None`: whatever is served.
    pub(super) model: Option<String>,
    pub(super) prompt: Prompt,
    /// Longest answer [tokens]; `None`: the model decides.
    pub(super) max_tokens: Option<u32>,
    pub(super) stream: bool,
    /// A streamed answer ends with its usage.
    pub(super) include_usage: bool,
}

#[derive(Debug, Deserialize)]
struct Common {
    model: Option<String>,
    max_tokens: Option<i64>,
    /// The newer name, for chats only.
    max_completion_tokens: Option<i64>,
    n: Option<u32>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Chat {
    messages: Vec<Message>,
    #[serde(flatten)]
    common: Common,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    content: Option<Content>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    text: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Completion {
    prompt: Given,
    #[serde(flatten)]
    common: Common,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Given {
    Text(String),
    Tokens(Vec<u32>),
    Texts(Vec<String>),
    Lists(Vec<Vec<u32>>),
}

impl Ask {
    /// Reads a body.
    ///
    /// Errors: 400 for what is not JSON, lacks a field, or asks for more than one answer.
    pub(super) fn read(form: Form, body: &[u8]) -> Result<Self, Failure> {
        let (prompt, common) = match form {
            Form::Chat => {
                let chat: Chat = parse(body)?;
                if chat.messages.is_empty() {
                    return Err(Failure::bad("`messages` is empty", Some("messages")));
                }
                (Prompt::of_text(&rendered(&chat.messages)), chat.common)
            }
            Form::Completion => {
                let completion: Completion = parse(body)?;
                (completion.prompt.single()?, completion.common)
            }
        };
        let asked = common.max_completion_tokens.filter(|_| form == Form::Chat);
        let max_tokens = asked.or(common.max_tokens).map(length).transpose()?;
        if common.n.is_some_and(|n| n != 1) {
            return Err(Failure::bad(
                "this simulated engine gives one answer: n must be 1",
                Some("n"),
            ));
        }
        let stream = common.stream.unwrap_or(false);
        if common.stream_options.is_some() && !stream {
            let message = "Stream options can only be defined when `stream=True`.";
            return Err(Failure::bad(message, Some("stream_options")));
        }
        let include_usage = common.stream_options.and_then(|options| options.include_usage);
        let include_usage = include_usage.unwrap_or(false);
        Ok(Self { form, model: common.model, prompt, max_tokens, stream, include_usage })
    }
}

impl Given {
    fn single(self) -> Result<Prompt, Failure> {
        match self {
            Self::Text(text) => Ok(Prompt::of_text(&text)),
            Self::Tokens(tokens) => Ok(Prompt::of_tokens(&tokens)),
            Self::Texts(texts) if texts.len() == 1 => Ok(Prompt::of_text(&texts[0])),
            Self::Lists(lists) if lists.len() == 1 => Ok(Prompt::of_tokens(&lists[0])),
            Self::Texts(_) | Self::Lists(_) => {
                let message = "this simulated engine gives one answer: send one prompt";
                Err(Failure::bad(message, Some("prompt")))
            }
        }
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::bad(error.to_string(), None))
}

fn length(tokens: i64) -> Result<u32, Failure> {
    let bad = || {
        Failure::bad(format!("max_tokens must be at least 1, got {tokens}."), Some("max_tokens"))
    };
    u32::try_from(tokens.min(i64::from(u32::MAX))).ok().filter(|tokens| *tokens > 0).ok_or_else(bad)
}

/// A conversation as one text, with the words a chat template puts around each message.
fn rendered(messages: &[Message]) -> String {
    let mut text = String::new();
    for Message { role, content } in messages {
        text.push_str("<|");
        text.push_str(role);
        text.push_str("|>\n");
        match content {
            Some(Content::Text(content)) => text.push_str(content),
            Some(Content::Parts(parts)) => {
                parts
                    .iter()
                    .filter_map(|part| part.text.as_deref())
                    .for_each(|part| text.push_str(part));
            }
            None => {}
        }
        text.push('\n');
    }
    text
}
