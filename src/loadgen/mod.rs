//! Load against an OpenAI-compatible endpoint.
