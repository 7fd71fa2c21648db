/* A stage sends messages to the next: the residual stream of each pass, and as the last message of a series its status. A rank that fails sends
 * its status at once and nothing more; the next stage reads all messages up to it, whether or not it still needs them. So no rank waits
 * for a message that is never sent. Where a message does not go through, the ranks can no longer vote: that ends them all. */
#include "saediff/model/pipeline.h"

#include <stdio.h>
#include <string.h>

#include "model_private.h"
#include "saediff/core/log.h"
#include "saediff/core/mem.h"
#include "saediff/core/str.h"
#include "saediff/par/channel.h"

typedef unsigned long long ull;

enum { HEAD = 64 }; /* bytes before the content of a message */

/* Content: rows [rows, d_model] of sd_real; with rows 0 the error, whose location names the rank. */
typedef struct head {
    uint64_t rows;
    int status;
} head;

typedef struct error {
    char text[SD_ERROR_TEXT], location[SD_ERROR_LOCATION];
} error;

_Static_assert(sizeof(head) <= HEAD, "a message's head fits before its content");

struct sd_pipeline {
    const sd_par *par;
    sd_model_config config;
    sd_model *model; /* NULL: idle */
    int stages, groups, group, stage;
    sd_p2p *p2p;                /* NULL with one stage */
    sd_channel *before, *after; /* NULL at the ends of the group */
    sd_buf *state;              /* [max_tokens, d_model]: received from the stage before */

    /* Of the series. */
    sd_status failed;
    error error;
    bool status_sent; /* to the stage after */
    bool over;        /* the status of the stage before has arrived */
};

static sd_span blocks_of(const sd_model_config *config, int stage, int stages)
{
    return sd_par_split(config->n_layers, stage, stages);
}

sd_status sd_pipeline_check(const sd_model_config *config, uint64_t stages, int ranks)
{
    if (stages < 1 || stages > config->n_layers)
        return SD_FAIL(SD_E_USAGE, "a model of %llu layers cannot be split into %llu stages; take 1 to %llu", (ull)config->n_layers, (ull)stages,
                       (ull)config->n_layers);
    if (stages > (uint64_t)ranks)
        return SD_FAIL(SD_E_USAGE, "a model in %llu stages needs %llu ranks and there %s %d; start more ranks, or take fewer stages", (ull)stages,
                       (ull)stages, ranks == 1 ? "is" : "are", ranks);
    return SD_OK;
}

uint64_t sd_pipeline_parameters(const sd_model_config *config, uint64_t stages)
{
    uint64_t most = 0;

    for (int s = 0; s < (int)stages; s++) {
        uint64_t here = sd_model_part_parameters(config, blocks_of(config, s, (int)stages));

        most = here > most ? here : most;
    }
    return most;
}

/* ---- opening and closing ---- */

static sd_status plan(sd_pipeline **pipeline, const sd_par *par, const char *dir, uint64_t stages)
{
    sd_pipeline *p = NULL;
    sd_status st;

    SD_TRY(st, SD_NEW(&p, 1));
    SD_TRY(st, sd_model_config_read(&p->config, dir));
    SD_TRY(st, sd_pipeline_check(&p->config, stages, par->size));
    p->par = par;
    p->stages = (int)stages;
    p->groups = par->size / p->stages;
    p->group = par->rank / p->stages;
    p->stage = par->rank % p->stages;
    if (p->group >= p->groups)
        p->group = p->stage = -1;
    *pipeline = p;
    p = NULL;
out:
    sd_pipeline_close(&p);
    return st;
}

/* Local. Memory and channels for the hand-over. */
static sd_status open_channels(sd_pipeline *p, sd_dev *dev, uint64_t max_tokens)
{
    uint64_t rows = max_tokens * p->config.d_model, capacity = rows * sizeof(sd_real);
    sd_status st = SD_OK;

    capacity = HEAD + (capacity > sizeof(error) ? capacity : sizeof(error));
    if (p->stage > 0) {
        SD_TRY(st, sd_buf_create(&p->state, dev, SD_REAL, rows));
        SD_TRY(st, sd_channel_open(&p->before, p->p2p, p->par->rank - 1, SD_CHANNEL_READS, capacity, SD_PAR_DEADLINE));
    }
    if (p->stage < p->stages - 1)
        SD_TRY(st, sd_channel_open(&p->after, p->p2p, p->par->rank + 1, SD_CHANNEL_WRITES, capacity, SD_PAR_DEADLINE));
out:
    return st;
}

/* Collective. Ranks of one stage share the reading. */
static sd_status open_stage(sd_pipeline *p, sd_dev *dev, const char *dir, uint64_t max_tokens)
{
    char text[64];
    sd_par part;
    sd_status st;

    snprintf(text, sizeof text, "%d stages, passes of %llu tokens", p->stages, (ull)max_tokens);
    SD_TRY(st, sd_par_equal(p->par, "a pipeline", text));
    SD_TRY(st, sd_p2p_open(&p->p2p, p->par, SD_P2P_CHUNK));
    SD_TRY(st, sd_par_agree(p->par, sd_par_part_begin(&part, p->par, p->stage)));
    if (p->stage >= 0) {
        st = sd_model_open_part_shared(&p->model, &part, dev, dir, max_tokens, blocks_of(&p->config, p->stage, p->stages));
        if (st == SD_OK)
            st = open_channels(p, dev, max_tokens);
    }
    st = sd_par_agree(p->par, st);
    sd_par_part_end(&part);
out:
    return st;
}

static void say_who_has_what(const sd_pipeline *p)
{
    int idle = p->par->size - p->groups * p->stages;
    sd_str text = {0};

    for (int s = 0; s < p->stages; s++) {
        sd_span b = blocks_of(&p->config, s, p->stages);

        sd_str_add(&text, "%s%llu-%llu", s > 0 ? ", " : "", (ull)b.first, (ull)(b.first + b.count - 1));
    }
    if (p->groups > 1)
        sd_str_add(&text, " on each %d ranks from rank 0 on", p->stages);
    else
        sd_str_add(&text, " on ranks 0 to %d", p->stages - 1);
    if (idle > 0)
        sd_str_add(&text, "; the last %d idle", idle);
    if (text.status == SD_OK)
        sd_say("model in %d stages: blocks %s", p->stages, text.text);
    sd_str_free(&text);
}

sd_status sd_pipeline_open(sd_pipeline **pipeline, const sd_par *par, sd_dev *dev, const char *dir, uint64_t max_tokens, uint64_t stages)
{
    sd_status st;

    *pipeline = NULL;
    SD_TRY(st, sd_par_agree(par, plan(pipeline, par, dir, stages)));
    if (stages == 1) {
        SD_TRY(st, sd_model_open_shared(&(*pipeline)->model, par, dev, dir, max_tokens));
    } else {
        SD_TRY(st, open_stage(*pipeline, dev, dir, max_tokens));
        say_who_has_what(*pipeline);
    }
out:
    if (st != SD_OK)
        sd_pipeline_close(pipeline);
    return st;
}

void sd_pipeline_close(sd_pipeline **pipeline)
{
    sd_pipeline *p = *pipeline;

    if (p == NULL)
        return;
    sd_channel_close(&p->before);
    sd_channel_close(&p->after);
    sd_p2p_close(&p->p2p);
    sd_buf_destroy(&p->state);
    sd_model_close(&p->model);
    sd_free(p);
    *pipeline = NULL;
}

sd_model *sd_pipeline_model(const sd_pipeline *p)
{
    return p->model;
}

static int stage_of(const sd_pipeline *p, sd_site site)
{
    int s = 0;

    if (site.kind == SD_SITE_EMBED)
        return 0;
    if (site.kind == SD_SITE_NORMALIZED)
        return p->stages - 1;
    while (s < p->stages - 1 && site.layer >= blocks_of(&p->config, s + 1, p->stages).first)
        s++;
    return s;
}

bool sd_pipeline_has(const sd_pipeline *p, sd_site site)
{
    return p->model != NULL && stage_of(p, site) == p->stage;
}

sd_span sd_pipeline_share(const sd_pipeline *p, uint64_t count)
{
    return p->model != NULL ? sd_par_split(count, p->group, p->groups) : (sd_span){0, 0};
}

/* ---- the hand-over ---- */

/* A message that does not go through ends all ranks. */
static void must(const sd_pipeline *p, sd_status st)
{
    if (st != SD_OK)
        sd_par_abort(p->par, st);
}

/* Where the content of the next message goes. */
static char *begin_message(sd_pipeline *p, head h)
{
    void *buffer;

    must(p, sd_channel_buffer(p->after, &buffer));
    *(head *)buffer = h;
    return (char *)buffer + HEAD;
}

/* Sends the residual stream x [n, d_model] to the next stage. */
static sd_status send_rows(sd_pipeline *p, sd_dev *dev, sd_mat x)
{
    char *rows = begin_message(p, (head){.rows = x.rows});
    sd_status st;

    SD_TRY(st, sd_dev_download(dev, x, rows));
    must(p, sd_channel_send(p->after, HEAD + x.rows * x.cols * sizeof(sd_real)));
out:
    return st;
}

/* Sends the last message of the series. */
static void send_status(sd_pipeline *p)
{
    if (p->after == NULL || p->status_sent)
        return;
    memcpy(begin_message(p, (head){.status = (int)p->failed}), &p->error, sizeof p->error);
    must(p, sd_channel_send(p->after, HEAD + sizeof p->error));
    p->status_sent = true;
}

/* Remembers the first failure of the series and passes it on. */
static sd_status fail(sd_pipeline *p, sd_status st)
{
    if (p->failed == SD_OK) {
        p->failed = st;
        sd_par_sign(st);
        snprintf(p->error.text, sizeof p->error.text, "%s", sd_last_error());
        snprintf(p->error.location, sizeof p->error.location, "%s", sd_last_error_location());
        send_status(p);
    }
    return st;
}

/* The next message of the stage before; its last where head.rows is 0, and then its status is returned. */
static sd_status receive(sd_pipeline *p, head *h, const char **content)
{
    const error *e;
    const void *data;
    uint64_t bytes;

    must(p, sd_channel_receive(p->before, &data, &bytes));
    *h = *(const head *)data;
    *content = (const char *)data + HEAD;
    p->over = h->rows == 0;
    if (!p->over || h->status == SD_OK)
        return SD_OK;
    e = (const error *)*content;
    return fail(p, sd_fail_from((sd_status)h->status, e->location, e->text));
}

/* *state = the residual stream of a pass of n rows, from the stage before. */
static sd_status receive_rows(sd_pipeline *p, uint64_t n, sd_mat *state)
{
    const char *rows;
    head h;
    sd_status st;

    SD_TRY(st, receive(p, &h, &rows));
    if (h.rows != n) {
        st = SD_FAIL(SD_E_INTERNAL, "rank %d computes a pass of %llu rows and rank %d before it sent %llu rows", p->par->rank, (ull)n, p->par->rank - 1,
                     (ull)h.rows);
        goto out;
    }
    *state = sd_mat_of(p->state, n, p->config.d_model);
    st = sd_dev_upload(p->model->dev, rows, *state);
out:
    return st;
}

static sd_status hand_over(void *self, sd_dev *dev, sd_mat rows)
{
    return send_rows(self, dev, rows);
}

static sd_status advance(void *self, sd_dev *dev, sd_mat rows)
{
    sd_pipeline *p = self;

    (void)dev, (void)rows;
    must(p, sd_channel_advance(p->after));
    return SD_OK;
}

/* ---- a pass ---- */

/* This stage's part of a pass that goes from stage `first` to stage `last`. */
static sd_status compute(sd_pipeline *p, const sd_pass *pass, int first, int last)
{
    sd_span blocks = p->model->blocks;
    uint64_t end = blocks.first + blocks.count, l = blocks.first;
    sd_site from = {SD_SITE_RESID_PRE, blocks.first};
    sd_pass part = *pass;
    sd_tap *taps = NULL;
    sd_status st;

    part.n_taps = 0;
    part.to_logits = pass->to_logits && p->stage == last;
    if (p->stage > first) {
        SD_TRY(st, receive_rows(p, pass->doc_start[pass->docs], &part.state));
        part.from = &from;
    } else if (pass->from != NULL) {
        l = pass->from->layer;
    }
    SD_TRY(st, SD_NEW(&taps, pass->n_taps + blocks.count));
    for (uint64_t i = 0; i < pass->n_taps; i++)
        if (sd_pipeline_has(p, pass->taps[i].site))
            taps[part.n_taps++] = pass->taps[i];
    for (; p->stage < last && l < end; l++)
        taps[part.n_taps++] = (sd_tap){.site = {SD_SITE_RESID_POST, l}, .kind = SD_TAP_READ, .sink = {l + 1 < end ? advance : hand_over, p}};
    part.taps = taps;
    st = sd_model_forward(p->model, &part);
out:
    sd_free(taps);
    return st;
}

sd_status sd_pipeline_forward(sd_pipeline *p, const sd_pass *pass)
{
    int first, last;
    sd_site end;
    bool empty;
    sd_status st = SD_OK;

    if (p->stages == 1)
        return sd_model_forward(p->model, pass);
    if (p->model == NULL)
        return SD_OK;
    if (p->failed != SD_OK)
        return sd_fail_from(p->failed, p->error.location, p->error.text);
    p->model->ready = 0;
    if (pass->cache != NULL) {
        st = SD_FAIL(SD_E_INTERNAL, "a pass with a cache through %d stages", p->stages);
        goto out;
    }
    SD_TRY(st, sd_pass_reach(&p->config, pass, &end, &empty));
    first = pass->from != NULL ? stage_of(p, *pass->from) : 0;
    last = stage_of(p, end);
    if (!empty && p->stage >= first && p->stage <= last)
        st = compute(p, pass, first, last);
out:
    return st != SD_OK ? fail(p, st) : SD_OK;
}

sd_status sd_pipeline_end(sd_pipeline *p, sd_status mine)
{
    const char *rows;
    sd_status st;
    head h;

    if (p->stages == 1 || p->model == NULL)
        return mine;
    if (mine != SD_OK)
        fail(p, mine);
    send_status(p);
    while (p->before != NULL && !p->over)
        st = receive(p, &h, &rows); /* kept in p->failed */
    if (p->after != NULL)
        must(p, sd_channel_wait(p->after));
    st = p->failed != SD_OK ? sd_fail_from(p->failed, p->error.location, p->error.text) : SD_OK;
    p->failed = SD_OK;
    p->status_sent = p->over = false;
    return st;
}
