"""From files to rows that can be trusted: reading, calendar, features, validation."""
