//! Answers as bytes. The names are the model's, which has tests of its own.
