"""Telling people of incidents: by e-mail, chat, pagers and webhooks."""
