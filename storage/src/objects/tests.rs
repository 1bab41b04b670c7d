//! The laws of the object store.
