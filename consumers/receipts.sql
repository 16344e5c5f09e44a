-- What a product keeps of its own work, beside its data: one schema in the product's database.
--
-- `product` is part of every key, because a monolith may be several products over one database.

create schema if not exists oblio;

-- The highest seq obeyed per request. Its row lock orders a running chunk and a stop.
create table if not exists oblio.steps (
    product  text     not null,
    tenant   text     not null,
    request  uuid     not null,
    seq      bigint   not null,
    stopped  boolean  not null default false,   -- seq is that of a stop
    primary key (product, tenant, request)
) with (fillfactor = 80);

-- Final: a phase that succeeded. Written once, never changed.
create table if not exists oblio.receipts (
    product  text         not null,
    tenant   text         not null,
    request  uuid         not null,
    phase    text         not null,
    epoch    bigint       not null,
    body     bytea        not null,             -- canonical JSON; its SHA-256 is the receipt's digest
    at       timestamptz  not null default now(),
    primary key (product, tenant, request, phase, epoch)
);

-- Working: a phase that has begun. The row is the lease, `fence` tells its holders apart, and it goes with the receipt.
create table if not exists oblio.plans (
    product      text         not null,
    tenant       text         not null,
    request      uuid         not null,
    phase        text         not null,
    epoch        bigint       not null,
    fence        bigint       not null,
    worker       text         not null,
    lease_until  timestamptz  not null,
    sealed       bytea        not null,         -- what was found: keys, versions, counts
    cursor       bigint       not null default 0,   -- items of the plan that are done
    created_at   timestamptz  not null default now(),
    primary key (product, tenant, request, phase, epoch)
) with (fillfactor = 70);

-- What is in the trash: the rows a trash phase hid, sealed; needed by restore and purge, and gone with them.
create table if not exists oblio.trash (
    product     text         not null,
    tenant      text         not null,
    request     uuid         not null,
    epoch       bigint       not null,
    sealed      bytea        not null,
    trashed_at  timestamptz  not null default now(),
    primary key (product, tenant, request, epoch)
);

-- Emergency stops; tenant '' is the product as a whole.
create table if not exists oblio.brakes (
    product  text     not null,
    tenant   text     not null,
    stopped  boolean  not null,
    seq      bigint   not null,
    primary key (product, tenant)
);

-- The next offset owed per partition: truth here, a hint in the broker.
create table if not exists oblio.offsets (
    product      text     not null,
    log          text     not null,             -- cluster and topic id: offsets of another log mean nothing
    topic        text     not null,
    partition    integer  not null,
    next_offset  bigint   not null,
    primary key (product, log, topic, partition)
) with (fillfactor = 80);
