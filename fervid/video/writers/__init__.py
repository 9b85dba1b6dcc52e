"""Video out: annotated clips, their sound, and copies that browsers play."""
