"""Programs that upload with a token, as an app does, with the official SDKs."""
