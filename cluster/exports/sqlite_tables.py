"""Tables and views of rollouts.db.

The tables and columns are those of synth-ai's tracing v3, so that queries written for it run;
columns for which Pickaxe has nothing (span ids, embeddings, experiments) stay NULL. Different are:
`total_reward` is REAL and not truncated, `cost_usd` is in dollars, and pictures are stored once,
in `images`, where `message_images` finds those of a message.
"""

from typing import Final

SCHEMA: Final = """
CREATE TABLE session_traces (
    session_id TEXT PRIMARY KEY,
    created_at TEXT NOT NULL,
    num_timesteps INTEGER NOT NULL,
    num_events INTEGER NOT NULL,
    num_messages INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    experiment_id TEXT,
    embedding BLOB
);
CREATE TABLE session_timesteps (
    id INTEGER PRIMARY KEY,
    session_id TEXT NOT NULL REFERENCES session_traces,
    step_id TEXT NOT NULL,
    step_index INTEGER NOT NULL,
    turn_number INTEGER NOT NULL,
    started_at TEXT,
    completed_at TEXT,
    num_events INTEGER NOT NULL,
    num_messages INTEGER NOT NULL,
    step_metadata TEXT NOT NULL,
    UNIQUE (session_id, step_id)
);
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    session_id TEXT NOT NULL REFERENCES session_traces,
    timestep_id INTEGER NOT NULL REFERENCES session_timesteps,
    event_type TEXT NOT NULL CHECK (event_type IN ('cais', 'environment', 'runtime')),
    system_instance_id TEXT NOT NULL,
    event_time REAL,
    message_time INTEGER,
    created_at TEXT,
    model_name TEXT,
    provider TEXT,
    input_tokens INTEGER,
    output_tokens INTEGER,
    total_tokens INTEGER,
    cost_usd REAL,
    latency_ms REAL,
    span_id TEXT,
    trace_id TEXT,
    call_records TEXT,
    reward REAL,
    terminated INTEGER,
    truncated INTEGER,
    system_state_before TEXT,
    system_state_after TEXT,
    metadata TEXT,
    event_metadata TEXT,
    embedding BLOB
);
CREATE TABLE messages (
    id INTEGER PRIMARY KEY,
    session_id TEXT NOT NULL REFERENCES session_traces,
    timestep_id INTEGER NOT NULL REFERENCES session_timesteps,
    message_type TEXT NOT NULL
        CHECK (message_type IN ('user', 'assistant', 'system', 'tool_use', 'tool_result')),
    content TEXT NOT NULL,
    timestamp TEXT,
    event_time REAL,
    message_time INTEGER,
    metadata TEXT,
    embedding BLOB
);
CREATE TABLE images (
    sha256 TEXT PRIMARY KEY,
    format TEXT NOT NULL,
    data BLOB NOT NULL
);
CREATE TABLE message_images (
    message_id INTEGER NOT NULL REFERENCES messages,
    position INTEGER NOT NULL,
    sha256 TEXT NOT NULL REFERENCES images,
    PRIMARY KEY (message_id, position)
);
CREATE TABLE outcome_rewards (
    id INTEGER PRIMARY KEY,
    session_id TEXT NOT NULL REFERENCES session_traces,
    total_reward REAL NOT NULL,
    achievements_count INTEGER NOT NULL,
    total_steps INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    reward_metadata TEXT NOT NULL
);
CREATE TABLE event_rewards (
    id INTEGER PRIMARY KEY,
    event_id INTEGER NOT NULL REFERENCES events,
    session_id TEXT NOT NULL REFERENCES session_traces,
    message_id INTEGER REFERENCES messages,
    turn_number INTEGER NOT NULL,
    reward_value REAL NOT NULL,
    reward_type TEXT NOT NULL,
    key TEXT,
    annotation TEXT,
    source TEXT,
    created_at TEXT
);
CREATE INDEX events_of_session ON events (session_id);
CREATE INDEX messages_of_session ON messages (session_id);
CREATE INDEX event_rewards_of_session ON event_rewards (session_id);
CREATE VIEW session_summary AS
SELECT t.session_id, t.created_at, t.num_timesteps, t.num_events, t.num_messages,
    o.total_reward, o.achievements_count, o.total_steps,
    (SELECT SUM(cost_usd) FROM events e WHERE e.session_id = t.session_id) AS total_cost_usd,
    (SELECT SUM(total_tokens) FROM events e WHERE e.session_id = t.session_id) AS total_tokens
FROM session_traces t JOIN outcome_rewards o USING (session_id);
CREATE VIEW model_usage_stats AS
SELECT model_name, provider, COUNT(*) AS usage_count, SUM(input_tokens) AS total_input_tokens,
    SUM(output_tokens) AS total_output_tokens, SUM(total_tokens) AS total_tokens,
    SUM(cost_usd) AS total_cost_usd, AVG(latency_ms) AS avg_latency_ms
FROM events WHERE event_type = 'cais' GROUP BY model_name, provider;
"""
