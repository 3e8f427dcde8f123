-- Statements about the state machines.

-- name: transitions
SELECT machine, from_state, to_state, meaning FROM state_transition ORDER BY machine, from_state NULLS FIRST, to_state
