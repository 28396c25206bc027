"""The language server. `complete` and `hover` work on text and offsets; `server` speaks the protocol (extra `[lsp]`)."""
