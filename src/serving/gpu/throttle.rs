//! Why a GPU's clock is held back, from the driver's bit mask.

/// Bit and name of each reason. Idle GPUs and clocks that an operator set are not throttled, so bits 0 and 1 are left
/// out, and so is the display's bit 8.
///
/// Source: NVML, `nvmlClocksEventReasons`; DCGM reports the same mask.
const REASONS: [(u64, &str); 6] = [
    (0x04, "sw_power_cap"),
    (0x08, "hw_slowdown"),
    (0x10, "sync_boost"),
    (0x20, "sw_thermal_slowdown"),
    (0x40, "hw_thermal_slowdown"),
    (0x80, "hw_power_brake_slowdown"),
];

/// The names of the reasons in `mask`.
pub(super) fn throttle_reasons(mask: u64) -> Vec<String> {
    let set = REASONS.iter().filter(|(bit, _)| mask & bit != 0);
    set.map(|(_, name)| (*name).to_owned()).collect()
}
