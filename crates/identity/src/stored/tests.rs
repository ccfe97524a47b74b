//! What is written is read back as it was, and holds no secret.
