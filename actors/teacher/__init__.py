"""The embedded teacher: a scripted player of Crafter that knows only what it was shown."""
