//! Guards: rules, spellings of paths and headers, CORS and explanations.
