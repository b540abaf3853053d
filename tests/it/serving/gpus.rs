//! GPU probes: the driver's library is a stand-in compiled here, the exporter's page is text.

use std::path::{Path, PathBuf};
use std::process::Command;

use perf_agent::base::Coded;
use perf_agent::domain::GpuReading;
use perf_agent::serving::exposition::Exposition;
use perf_agent::serving::gpu::{NoGpus, NvmlProbe, readings};
use perf_agent::serving::{Error, GpuProbe};

/// Compiles the stand-in for one scenario.
fn library(dir: &Path, scenario: &str) -> PathBuf {
    let library = dir.join("libnvidia-ml.so.1");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stubs/nvml/lib.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let status = Command::new(rustc)
        .args(["--edition=2024", "--crate-name=nvml", "--crate-type=cdylib", "-Awarnings"])
        .arg(format!("--cfg=scenario=\"{scenario}\""))
        .arg("-o")
        .args([&library, &source])
        .status();
    assert!(status.unwrap().success());
    library
}

async fn read(scenario: &str) -> Result<Vec<GpuReading>, Error> {
    let dir = tempfile::tempdir().unwrap();
    NvmlProbe::load(Some(&library(dir.path(), scenario)))?.read().await
}

#[tokio::test]
async fn a_healthy_gpu_is_read_in_si_units_and_shares() {
    let gpus = read("healthy").await.unwrap();
    assert_eq!((gpus.len(), gpus[0].index, gpus[1].index), (2, 0, 1));
    let gib = f64::from(1 << 30);
    let expected = GpuReading {
        index: 1,
        name: "NVIDIA H100 80GB HBM3".to_owned(),
        gpu_utilization: Some(1.0),
        memory_utilization: Some(0.63),
        memory_used_bytes: Some(72.0 * gib),
        memory_total_bytes: Some(80.0 * gib),
        power_w: Some(512.3),
        power_limit_w: Some(700.0),
        sm_clock_mhz: Some(1980.0),
        sm_clock_max_mhz: Some(1980.0),
        temperature_c: Some(62.0),
        throttle_reasons: Vec::new(),
        ecc_uncorrected: Some(0),
    };
    assert_eq!(gpus[1], expected);
}

#[tokio::test]
async fn a_throttled_gpu_says_why() {
    let gpus = read("throttled").await.unwrap();
    assert_eq!(gpus[0].throttle_reasons, ["sw_power_cap", "sw_thermal_slowdown"]);
    assert_eq!(gpus[0].sm_clock_mhz, Some(1200.0));
}

#[tokio::test]
async fn what_a_driver_or_gpu_does_not_have_is_unknown_and_never_zero() {
    let old = read("old_driver").await.unwrap();
    assert_eq!((old[0].memory_used_bytes, old[0].power_w), (None, Some(512.3)));
    let bare = read("not_supported").await.unwrap();
    assert_eq!(
        (bare[0].gpu_utilization, bare[0].power_w, bare[0].ecc_uncorrected),
        (None, None, None)
    );
    assert_eq!(bare[0].name, "NVIDIA H100 80GB HBM3");
}

#[tokio::test]
async fn a_gpu_that_fell_off_the_bus_is_an_error() {
    let lost = read("lost").await.unwrap_err();
    assert_eq!(lost.code(), "serving.gpu_failed");
    assert!(lost.to_string().contains("GPU 0"), "{lost}");
}

#[tokio::test]
async fn without_a_driver_the_error_says_so_and_nothing_else_breaks() {
    let missing = NvmlProbe::load(Some(Path::new("/nonexistent/libnvidia-ml.so.1")));
    for error in [missing.err().unwrap(), read("no_driver").await.unwrap_err()] {
        assert_eq!(error.code(), "serving.no_gpu_driver");
        assert!(error.to_string().starts_with("no NVIDIA driver found"), "{error}");
    }
    assert_eq!(NoGpus.read().await.unwrap(), Vec::new());
}

const DCGM: &str = r#"
# HELP DCGM_FI_DEV_GPU_UTIL GPU utilization (in %).
DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-a",modelName="NVIDIA A100",Hostname="n1"} 98
DCGM_FI_DEV_GPU_UTIL{gpu="1",UUID="GPU-b",modelName="NVIDIA A100",Hostname="n1"} 9223372036854775794
DCGM_FI_DEV_GPU_UTIL{gpu="1",UUID="GPU-b",modelName="NVIDIA A100",GPU_I_PROFILE="1g.10gb",GPU_I_ID="7"} 3
DCGM_FI_PROF_DRAM_ACTIVE{gpu="0",UUID="GPU-a",modelName="NVIDIA A100"} 0.71
DCGM_FI_DEV_MEM_COPY_UTIL{gpu="0",UUID="GPU-a",modelName="NVIDIA A100"} 40
DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-a",modelName="NVIDIA A100"} 70000
DCGM_FI_DEV_FB_FREE{gpu="0",UUID="GPU-a",modelName="NVIDIA A100"} 10000
DCGM_FI_DEV_FB_RESERVED{gpu="0",UUID="GPU-a",modelName="NVIDIA A100"} 500
DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-a",modelName="NVIDIA A100"} 398.5
DCGM_FI_DEV_POWER_USAGE{gpu="1",UUID="GPU-b",modelName="NVIDIA A100"} 140737488355330.0
DCGM_FI_DEV_SM_CLOCK{gpu="0",UUID="GPU-a",modelName="NVIDIA A100"} 1410
DCGM_FI_DEV_GPU_TEMP{gpu="0",UUID="GPU-a",modelName="NVIDIA A100"} 71
DCGM_FI_DEV_GPU_TEMP{gpu="1",UUID="GPU-b",modelName="NVIDIA A100"} 2147483634
DCGM_FI_DEV_CLOCK_THROTTLE_REASONS{gpu="0",UUID="GPU-a",modelName="NVIDIA A100"} 68
"#;

#[test]
fn an_exporters_page_gives_the_same_reading_and_its_blanks_are_unknown() {
    let gpus = readings(&Exposition::parse(DCGM));
    let mib = 1024.0 * 1024.0;
    assert_eq!(gpus.len(), 2);
    assert_eq!(gpus[0].name, "NVIDIA A100");
    assert_eq!((gpus[0].gpu_utilization, gpus[0].memory_utilization), (Some(0.98), Some(0.71)));
    assert_eq!(gpus[0].memory_used_bytes, Some(70_000.0 * mib));
    assert_eq!(gpus[0].memory_total_bytes, Some(80_500.0 * mib));
    assert_eq!((gpus[0].power_w, gpus[0].temperature_c), (Some(398.5), Some(71.0)));
    assert_eq!(gpus[0].throttle_reasons, ["sw_power_cap", "hw_thermal_slowdown"]);
    // The MIG instance's 3 % is not the device's.
    assert_eq!(
        (gpus[1].gpu_utilization, gpus[1].power_w, gpus[1].temperature_c),
        (None, None, None)
    );
}
