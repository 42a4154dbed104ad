"""Content of spans in one shape: messages, answers, tools and retrieved documents as MLflow's UI shows them."""
