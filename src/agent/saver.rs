//! Checkpoints of other frameworks, as the store keeps them: the words of [`super::Agent::saver`].

use crate::store;

/// A value in its writer's own serialisation.
pub type Blob = store::Blob;
/// A checkpoint with all that belongs to it.
pub type FoundCheckpoint = store::FoundCheckpoint;
/// A checkpoint to keep.
pub type NewCheckpoint = store::NewCheckpoint;
/// What pruning leaves of a thread.
pub type PruneStrategy = store::PruneStrategy;
/// A checkpoint without its values.
pub type SavedCheckpoint = store::SavedCheckpoint;
/// Which checkpoints to list.
pub type SavedQuery = store::SavedQuery;
/// A write of a task that was not applied yet.
pub type SavedWrite = store::SavedWrite;
/// Where checkpoints lie.
pub type Scope = store::Scope;
