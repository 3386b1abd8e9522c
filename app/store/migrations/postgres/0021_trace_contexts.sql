CREATE TABLE @trace_contexts (
    id          text COLLATE "C" PRIMARY KEY,  -- can_... or msg_..., which begin with the time
    traceparent text COLLATE "C" NOT NULL      -- as W3C Trace Context says it
);
