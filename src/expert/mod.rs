//! A chat model without a network: answers from the tuning rules.
