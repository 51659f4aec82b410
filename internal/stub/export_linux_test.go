package stub

// Unlinked is what Memfd falls back to.
var Unlinked = unlinked
