"""Senders that wait for answers: closed loops, programs of turns, trees."""
