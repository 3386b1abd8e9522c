"""Deliveries: workers that send messages to subscribers, one for each subscription."""
