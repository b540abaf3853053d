//! The canary state machine and its sequential tests: pure.
