//! Names that callers give to what lies in folders, URLs and metrics.

/// Longest name [bytes].
const NAME_BYTES_MAX: usize = 100;

/// What a name is, in words.
pub(super) const NAME: &str =
    "a letter or digit, then at most 99 letters, digits, `.`, `_` and `-`";

/// Whether it leads to no other folder, hides no file, and ends where every file system goes.
pub(super) fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    begins && name.len() <= NAME_BYTES_MAX && name.chars().all(fits)
}
