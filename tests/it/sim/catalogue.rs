//! The built-in models and devices.

use perf_agent::sim::{gpu, gpus, model, models};

#[test]
fn every_built_in_file_reads() {
    let names: Vec<&str> = models().iter().map(|model| model.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "meta-llama/Llama-3.1-8B-Instruct",
            "meta-llama/Llama-3.1-70B-Instruct",
            "Qwen/Qwen3-32B",
            "HuggingFaceTB/SmolLM2-135M-Instruct",
        ]
    );
    let names: Vec<&str> = gpus().iter().map(|gpu| gpu.name.as_str()).collect();
    assert_eq!(names, ["H100", "H200", "A100", "L40S", "RTX-PRO-6000"]);
}

#[test]
fn names_are_found_with_and_without_owner_suffix_and_case() {
    for name in ["meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b", "Llama-3.1-8B-Instruct"] {
        assert_eq!(model(name).unwrap().layers, 32, "{name}");
    }
    assert_eq!(model("gpt-5"), None);
    assert_eq!(gpu("h100").unwrap().name, "H100");
    assert_eq!(gpu("TPU"), None);
}

#[test]
fn kv_bytes_are_those_of_the_literature() {
    assert_eq!(model("Llama-3.1-8B").unwrap().kv_bytes_per_token(2.0), 128.0 * 1024.0);
    assert_eq!(model("Llama-3.1-70B").unwrap().kv_bytes_per_token(2.0), 320.0 * 1024.0);
    assert_eq!(model("Llama-3.1-70B").unwrap().kv_bytes_per_token(1.0), 160.0 * 1024.0);
}
