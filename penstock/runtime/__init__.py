"""The body: slot table, step batch, sampler, model runner, memory plan."""
