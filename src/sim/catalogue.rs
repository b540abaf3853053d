//! Models and devices that are built in; the data files are in `data/`.

use std::sync::LazyLock;

use crate::domain::{GpuSpec, ModelSpec};

static MODELS: LazyLock<Vec<ModelSpec>> =
    LazyLock::new(|| read(include_str!("../../data/models/catalogue.yaml")));
static GPUS: LazyLock<Vec<GpuSpec>> =
    LazyLock::new(|| read(include_str!("../../data/gpus/catalogue.yaml")));

/// Every built-in model.
pub fn models() -> &'static [ModelSpec] {
    &MODELS
}

/// Every built-in device.
pub fn gpus() -> &'static [GpuSpec] {
    &GPUS
}

/// The model of that name. Owner, case and `-Instruct` do not matter: shapes are those of the base model.
pub fn model(name: &str) -> Option<ModelSpec> {
    MODELS.iter().find(|model| bare(&model.name) == bare(name)).cloned()
}

fn bare(name: &str) -> String {
    let short = name.rsplit('/').next().unwrap_or_default().to_lowercase();
    short.trim_end_matches("-instruct").to_owned()
}

/// The device of that name; case does not matter.
pub fn gpu(name: &str) -> Option<GpuSpec> {
    GPUS.iter().find(|gpu| gpu.name.eq_ignore_ascii_case(name)).cloned()
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Vec<T> {
    // A file that is built in either reads or fails the test that looks at it.
    serde_saphyr::from_str(text).unwrap_or_default()
}
