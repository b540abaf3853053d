//! Typed tools and the registry that alone may call them.
