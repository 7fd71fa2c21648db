#include "saediff/flow/order.h"

#include "saediff/core/mem.h"
#include "saediff/core/random.h"

struct sd_order {
    const sd_tokens *tokens;
    uint64_t seed, batch, window, rows;
    uint64_t epoch; /* which `start` is of; UINT64_MAX for none */
    uint64_t *start; /* [docs + 1]: counted rows before the document at each place of the epoch */
    uint64_t *evaluated; /* [docs]: counted rows of each document */
};

sd_status sd_order_create(sd_order **order, const sd_tokens *tokens, uint64_t seed, uint64_t batch, uint64_t window)
{
    sd_order *o = NULL;
    uint64_t doc, row;
    sd_status st;

    *order = NULL;
    if (batch == 0)
        return SD_FAIL(SD_E_INTERNAL, "a data order with batches of 0 rows");
    SD_TRY(st, SD_NEW(&o, 1));
    o->tokens = tokens;
    o->seed = seed;
    o->batch = batch;
    o->window = window < batch ? batch : window - window % batch;
    o->epoch = UINT64_MAX;
    SD_TRY(st, SD_NEW(&o->start, tokens->docs + 1));
    SD_TRY(st, SD_NEW(&o->evaluated, tokens->docs));
    for (doc = 0; doc < tokens->docs; doc++) {
        for (row = tokens->doc_start[doc]; row < tokens->doc_start[doc + 1]; row++)
            o->evaluated[doc] += tokens->mask[row];
        o->rows += o->evaluated[doc];
    }
    if (o->rows < batch) {
        st = SD_FAIL(SD_E_DATA, "the text has %llu tokens to train on, fewer than one batch of %llu; give more text or a "
                                "smaller batch",
                     (unsigned long long)o->rows, (unsigned long long)batch);
        goto out;
    }
    *order = o;
    o = NULL;
out:
    sd_order_destroy(&o);
    return st;
}

void sd_order_destroy(sd_order **order)
{
    sd_order *o = *order;

    if (o == NULL)
        return;
    sd_free(o->evaluated);
    sd_free(o->start);
    sd_free(o);
    *order = NULL;
}

uint64_t sd_order_rows(const sd_order *order)
{
    return order->rows;
}

uint64_t sd_order_steps_per_epoch(const sd_order *order)
{
    return order->rows / order->batch;
}

uint64_t sd_order_window(const sd_order *order)
{
    return order->window;
}

uint64_t sd_order_batch(const sd_order *order)
{
    return order->batch;
}

/* The document at a place of the epoch. */
static uint64_t doc_at(const sd_order *o, uint64_t epoch, uint64_t place)
{
    return sd_random_permute(sd_key_make(o->seed, SD_STREAM_DOCUMENTS, epoch), o->tokens->docs, place);
}

static void begin_epoch(sd_order *o, uint64_t epoch)
{
    uint64_t place;

    if (o->epoch == epoch)
        return;
    for (place = 0; place < o->tokens->docs; place++)
        o->start[place + 1] = o->start[place] + o->evaluated[doc_at(o, epoch, place)];
    o->epoch = epoch;
}

/* The last place whose document begins at or before the counted row `at`, empty ones left behind. */
static uint64_t place_of(const sd_order *o, uint64_t at)
{
    uint64_t low = 0, high = o->tokens->docs;

    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;

        if (o->start[middle] <= at)
            low = middle;
        else
            high = middle;
    }
    return low;
}

sd_status sd_order_fill(sd_order *order, uint64_t epoch, uint64_t w, uint64_t *rows, uint64_t *count)
{
    uint64_t windows = (order->rows - 1) / order->window + 1, first = w * order->window, n, done = 0, place, skip;
    sd_key key = sd_key_make(order->seed, SD_STREAM_ROWS, epoch * windows + w);

    if (w >= windows)
        return SD_FAIL(SD_E_INTERNAL, "window %llu of an epoch of %llu", (unsigned long long)w, (unsigned long long)windows);
    begin_epoch(order, epoch);
    n = order->rows - first < order->window ? order->rows - first : order->window;
    place = place_of(order, first);
    skip = first - order->start[place];
    for (; done < n; place++) {
        uint64_t doc = doc_at(order, epoch, place), row = order->tokens->doc_start[doc];

        for (; row < order->tokens->doc_start[doc + 1] && done < n; row++) {
            if (order->tokens->mask[row] == 0)
                continue;
            if (skip > 0)
                skip--;
            else
                rows[sd_random_permute(key, n, done++)] = row;
        }
    }
    *count = n - n % order->batch;
    return SD_OK;
}
