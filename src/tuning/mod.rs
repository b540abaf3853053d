//! Diagnosis rules, legality of a config, search: pure.
