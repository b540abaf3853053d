//! A stand-in for NVIDIA's management library: two GPUs, and the ways real ones answer. Compiled by a test, once for
//! each scenario: `healthy`, `throttled`, `old_driver` (a symbol is missing), `not_supported`, `lost`, `no_driver`.
#![allow(
    non_snake_case,
    clippy::missing_safety_doc,
    missing_docs,
    reason = "the names and the shape are the C library's"
)]

use std::ffi::{c_char, c_int, c_uint, c_ulonglong};

type Device = usize;
type Return = c_int;

const SUCCESS: Return = 0;
#[cfg(scenario = "not_supported")]
const FIGURE: Return = 3; // NVML_ERROR_NOT_SUPPORTED
#[cfg(scenario = "lost")]
const FIGURE: Return = 15; // NVML_ERROR_GPU_IS_LOST
#[cfg(not(any(scenario = "not_supported", scenario = "lost")))]
const FIGURE: Return = SUCCESS;

/// Writes a figure of a device unless the scenario withholds it.
unsafe fn give<T>(to: *mut T, value: T) -> Return {
    if FIGURE == SUCCESS {
        unsafe { to.write(value) };
    }
    FIGURE
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit_v2() -> Return {
    // NVML_ERROR_DRIVER_NOT_LOADED
    if cfg!(scenario = "no_driver") { 9 } else { SUCCESS }
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlShutdown() -> Return {
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCount_v2(count: *mut c_uint) -> Return {
    unsafe { count.write(2) };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, device: *mut Device) -> Return {
    unsafe { device.write(index as Device + 1) };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetName(_: Device, name: *mut c_char, length: c_uint) -> Return {
    let text = b"NVIDIA H100 80GB HBM3\0";
    assert!(text.len() <= length as usize);
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr().cast(), name, text.len()) };
    SUCCESS
}

#[repr(C)]
pub struct Utilization {
    gpu: c_uint,
    memory: c_uint,
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetUtilizationRates(_: Device, to: *mut Utilization) -> Return {
    unsafe { give(to, Utilization { gpu: 100, memory: 63 }) }
}

#[repr(C)]
pub struct Memory {
    version: c_uint,
    total: c_ulonglong,
    reserved: c_ulonglong,
    free: c_ulonglong,
    used: c_ulonglong,
}

/// Drivers before 510 lack it.
#[cfg(not(scenario = "old_driver"))]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(_: Device, to: *mut Memory) -> Return {
    let version = unsafe { (*to).version };
    let gib = 1 << 30;
    let memory = Memory { version, total: 80 * gib, reserved: gib, free: 7 * gib, used: 72 * gib };
    unsafe { give(to, memory) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetPowerUsage(_: Device, to: *mut c_uint) -> Return {
    unsafe { give(to, 512_300) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetEnforcedPowerLimit(_: Device, to: *mut c_uint) -> Return {
    unsafe { give(to, 700_000) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetClockInfo(_: Device, _: c_int, to: *mut c_uint) -> Return {
    unsafe { give(to, if cfg!(scenario = "throttled") { 1200 } else { 1980 }) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMaxClockInfo(_: Device, _: c_int, to: *mut c_uint) -> Return {
    unsafe { give(to, 1980) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTemperature(device: Device, _: c_int, to: *mut c_uint) -> Return {
    unsafe { give(to, 60 + device as c_uint) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCurrentClocksThrottleReasons(
    _: Device,
    to: *mut c_ulonglong,
) -> Return {
    // Idle and operator-set clocks are in the mask too: they are no throttling.
    unsafe { give(to, if cfg!(scenario = "throttled") { 0x1 | 0x4 | 0x20 } else { 0x1 | 0x2 }) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTotalEccErrors(
    _: Device,
    kind: c_int,
    counter: c_int,
    to: *mut c_ulonglong,
) -> Return {
    assert_eq!((kind, counter), (1, 0), "uncorrected, volatile");
    unsafe { give(to, 0) }
}
