//! Tools that look at GPUs.

mod read_gpus;

pub(super) use read_gpus::ReadGpus;
