"""What is being released: rollout documents, their stages, and what is known to be true of them."""
