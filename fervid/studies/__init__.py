"""Studies: how far timelines agree with people who coded the same video. Imported by nothing on the line."""
