//! The data plane: a weighted, sticky, streaming reverse proxy.
