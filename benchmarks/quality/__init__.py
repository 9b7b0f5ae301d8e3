"""How often harmless rollouts are stopped, and how soon bad ones: holdfast beside what people use."""
