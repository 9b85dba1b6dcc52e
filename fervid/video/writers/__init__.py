"""Write MP4: annotated clips with their audio, and copies that browsers play."""
