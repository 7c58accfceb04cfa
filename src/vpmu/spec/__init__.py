"""The ground floor: constants and typed layouts, no behaviour."""
