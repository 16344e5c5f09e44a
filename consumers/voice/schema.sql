-- The sample telephony product: one PostgreSQL database, shared by all tenants, and files in an object store.
--
-- Calls are keyed by the caller's phone (E.164); user_id is known for some of them only, so a subject who gave an
-- e-mail is found here only after the help desk has answered with the phone. Call ids are given per tenant.
-- A recording is a .wav, a transcript a .json or .txt; object_key is relative to the root of the object store:
-- voice/<tenant>/…. transcripts have no tenant of their own: they reach it by transcripts -> recordings.

create table agents (
    tenant      text        not null,
    id          bigint      not null,
    name        text        not null,
    created_at  timestamptz not null default now(),
    primary key (tenant, id)
);

create table calls (
    tenant        text        not null,
    id            bigint      not null,
    caller_phone  text,                   -- null once anonymised
    caller_name   text,                   -- as the network told it
    user_id       bigint,                 -- the help desk's users.id, when the caller was recognised
    agent_id      bigint,
    queue         text        not null,
    direction     text        not null check (direction in ('inbound', 'outbound')),
    started_at    timestamptz not null default now(),
    duration_s    integer     not null,   -- duration, queue and outcome stay, for reporting
    outcome       text        not null check (outcome in ('answered', 'missed', 'voicemail', 'transferred')),
    primary key (tenant, id),
    foreign key (tenant, agent_id) references agents (tenant, id)
);
create index calls_caller_phone on calls (tenant, caller_phone);
create index calls_user on calls (tenant, user_id);
create index calls_agent on calls (tenant, agent_id);

create table recordings (
    id          uuid        primary key,
    tenant      text        not null,
    call_id     bigint      not null,
    object_key  text        not null unique,
    format      text        not null check (format in ('wav')),
    bytes       bigint      not null,
    created_at  timestamptz not null default now(),
    foreign key (tenant, call_id) references calls (tenant, id)
);
create index recordings_call on recordings (tenant, call_id);

create table transcripts (
    id            uuid        primary key,
    recording_id  uuid        not null references recordings (id),
    object_key    text        not null unique,
    language      text        not null,
    words         integer     not null,
    created_at    timestamptz not null default now()
);
create index transcripts_recording on transcripts (recording_id);

create table call_notes (
    tenant      text        not null,
    call_id     bigint      not null,
    seq         integer     not null,
    agent_id    bigint      not null,
    note        text        not null,   -- an agent's words about the caller; may quote phone and e-mail
    created_at  timestamptz not null default now(),
    primary key (tenant, call_id, seq),
    foreign key (tenant, call_id) references calls (tenant, id),
    foreign key (tenant, agent_id) references agents (tenant, id)
);
create index call_notes_agent on call_notes (tenant, agent_id);

create table callback_requests (
    tenant        text        not null,
    id            bigint      not null,
    phone         text        not null,
    name          text        not null,
    reason        text        not null,
    requested_at  timestamptz not null default now(),
    done_at       timestamptz,
    primary key (tenant, id)
);
create index callback_requests_phone on callback_requests (tenant, phone);
