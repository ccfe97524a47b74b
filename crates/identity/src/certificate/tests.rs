//! Names in certificates, and who they are.
