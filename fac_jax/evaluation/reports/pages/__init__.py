"""Pages for people: one template for all, with figures and sounds inside."""
