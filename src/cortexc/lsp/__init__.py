"""The language server: `complete` and `hover` work on text; `server` speaks the protocol (extra `[lsp]`)."""
