//! How long a prompt is, and what it shares with others: there is no tokenizer here.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Characters of English text per token, as the vocabularies in use cut it.
const CHARS_PER_TOKEN: usize = 4;
/// Tokens of one hashed piece: what [`crate::sim::Request::prefix_hashes`] counts in.
const PIECE_TOKENS: usize = 16;

/// A prompt as a replica sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prompt {
    /// Length [tokens], at least 1.
    pub(super) tokens: u32,
    /// Chained hashes of its full pieces: each stands for everything up to its end.
    pub(super) hashes: Vec<u64>,
}

impl Prompt {
    /// A text: about four characters are a token, so 64 of them are a piece.
    pub(super) fn of_text(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        Self::new(&chars, CHARS_PER_TOKEN)
    }

    /// Tokens by their numbers.
    pub(super) fn of_tokens(tokens: &[u32]) -> Self {
        Self::new(tokens, 1)
    }

    fn new<T: Hash>(units: &[T], per_token: usize) -> Self {
        let mut before = 0;
        let chain = |piece: &[T]| {
            let mut hasher = DefaultHasher::new();
            (before, piece).hash(&mut hasher);
            before = hasher.finish();
            before
        };
        let hashes = units.chunks_exact(PIECE_TOKENS * per_token).map(chain).collect();
        let tokens = u32::try_from(units.len().div_ceil(per_token)).unwrap_or(u32::MAX);
        Self { tokens: tokens.max(1), hashes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_characters_are_a_token_and_sixty_four_a_piece() {
        let prompt = Prompt::of_text(&"é".repeat(130));
        assert_eq!((prompt.tokens, prompt.hashes.len()), (33, 2));
        assert_eq!(Prompt::of_text("").tokens, 1);
        assert_eq!(Prompt::of_tokens(&[7; 33]).hashes.len(), 2);
    }

    #[test]
    fn equal_beginnings_share_their_hashes_and_nothing_after_the_first_difference() {
        let (head, tail) = ("a".repeat(64), "z".repeat(64));
        let one = Prompt::of_text(&format!("{head}{}{tail}", "b".repeat(64)));
        let other = Prompt::of_text(&format!("{head}{}{tail}", "c".repeat(64)));
        assert_eq!(one.hashes[0], other.hashes[0]);
        assert_ne!(one.hashes[1], other.hashes[1]);
        assert_ne!(one.hashes[2], other.hashes[2]);
    }
}
