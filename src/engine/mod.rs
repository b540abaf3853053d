//! Wakes threads at least once, across restarts.
