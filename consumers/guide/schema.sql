-- The sample help centre: one PostgreSQL database, shared by all tenants. Ids are given per tenant and collide.
--
-- author_email and feedback e-mails stand as their writer typed them (Anna.Rossi@Example.com), so they are found by
-- lower(column), for which there is an index. Comments of people without an account have an e-mail and no author_id.
-- comment_revisions has no tenant of its own: it reaches it by its comment's public uid.

create table articles (
    tenant       text        not null,
    id           bigint      not null,
    title        text        not null,
    body         text        not null,
    locale       text        not null,
    editor_name  text        not null,   -- staff
    created_at   timestamptz not null default now(),
    primary key (tenant, id)
);

create table article_comments (
    tenant        text        not null,
    id            bigint      not null,
    uid           uuid        not null unique,
    article_id    bigint      not null,
    parent_id     bigint,                 -- the comment this one answers
    author_id     bigint,                 -- the help desk's users.id; null: no account
    author_name   text,
    author_email  text,
    body          text        not null,   -- other people's answers may quote the subject's address
    hidden_at     timestamptz,            -- set: in the trash
    created_at    timestamptz not null default now(),
    primary key (tenant, id),
    foreign key (tenant, article_id) references articles (tenant, id),
    foreign key (tenant, parent_id) references article_comments (tenant, id)
);
create index article_comments_article on article_comments (tenant, article_id);
create index article_comments_parent on article_comments (tenant, parent_id);
create index article_comments_author on article_comments (tenant, author_id);
create index article_comments_author_email on article_comments (tenant, lower(author_email));

create table comment_revisions (
    comment_uid  uuid        not null references article_comments (uid),
    revision     integer     not null,
    body         text        not null,
    edited_at    timestamptz not null default now(),
    primary key (comment_uid, revision)
);

create table comment_votes (
    tenant      text        not null,
    comment_id  bigint      not null,
    user_id     bigint      not null,
    value       smallint    not null check (value in (-1, 1)),
    created_at  timestamptz not null default now(),
    primary key (tenant, comment_id, user_id),
    foreign key (tenant, comment_id) references article_comments (tenant, id)
);
create index comment_votes_user on comment_votes (tenant, user_id);

create table subscriptions (
    tenant      text        not null,
    user_id     bigint      not null,
    article_id  bigint      not null,
    email       text        not null,   -- in normal form
    created_at  timestamptz not null default now(),
    primary key (tenant, user_id, article_id),
    foreign key (tenant, article_id) references articles (tenant, id)
);
create index subscriptions_article on subscriptions (tenant, article_id);
create index subscriptions_email on subscriptions (tenant, email);

create table article_feedback (
    tenant      text        not null,
    id          bigint      not null,
    article_id  bigint      not null,
    user_id     bigint,
    email       text,
    helpful     boolean     not null,   -- stays, for reporting
    remark      text,
    created_at  timestamptz not null default now(),
    primary key (tenant, id),
    foreign key (tenant, article_id) references articles (tenant, id)
);
create index article_feedback_article on article_feedback (tenant, article_id);
create index article_feedback_user on article_feedback (tenant, user_id);
create index article_feedback_email on article_feedback (tenant, lower(email));
