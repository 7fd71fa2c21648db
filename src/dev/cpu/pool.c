#include "pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "saediff/core/mem.h"

typedef struct workspace {
    char *memory;
    uint64_t bytes;
} workspace;

typedef struct worker {
    sd_pool *pool;
    pthread_t thread;
    int number; /* 1 … ; 0 is the caller */
} worker;

struct sd_pool {
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    worker *workers;
    int count;     /* workers that run */
    bool has_lock; /* the three above are initialised */

    /* Under the lock. */
    uint64_t generation; /* number of runs so far */
    int busy;            /* workers that have not finished this run */
    bool closing;

    /* Written before a run, constant during it. */
    sd_tile_fn fn;
    const void *args;
    uint64_t tiles;
    uint64_t scratch_stride;
    atomic_uint_fast64_t next;

    workspace scratch, shared;
};

/* Contents are lost when the workspace grows. */
static sd_status workspace_grow(workspace *r, uint64_t bytes)
{
    sd_status st = SD_OK;

    if (bytes <= r->bytes)
        goto out;
    sd_free(r->memory);
    *r = (workspace){0};
    SD_TRY(st, sd_alloc_bytes((void **)&r->memory, bytes, 1));
    r->bytes = bytes;
out:
    return st;
}

static void work(sd_pool *pool, int number)
{
    void *scratch =
        pool->scratch_stride == 0 ? NULL : pool->scratch.memory + (uint64_t)number * pool->scratch_stride;

    for (;;) {
        uint64_t tile = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);

        if (tile >= pool->tiles)
            break;
        pool->fn(pool->args, tile, scratch);
    }
}

static void *worker_main(void *arg)
{
    worker *me = arg;
    sd_pool *pool = me->pool;
    uint64_t seen = 0;

    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (pool->generation == seen && !pool->closing)
            pthread_cond_wait(&pool->wake, &pool->lock);
        if (pool->closing)
            break;
        seen = pool->generation;
        pthread_mutex_unlock(&pool->lock);
        work(pool, me->number);
        pthread_mutex_lock(&pool->lock);
        if (--pool->busy == 0)
            pthread_cond_signal(&pool->done);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Signals stay with the thread that called MPI_Init. */
static sd_status start_workers(sd_pool *pool, int count)
{
    sigset_t all, before;
    sd_status st = SD_OK;

    sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0)
        return SD_FAIL(SD_E_ENV, "the signal mask of the worker threads could not be set");
    while (pool->count < count) {
        worker *w = &pool->workers[pool->count];
        int error;

        *w = (worker){.pool = pool, .number = pool->count + 1};
        error = pthread_create(&w->thread, NULL, worker_main, w);
        if (error != 0) {
            st = SD_FAIL(SD_E_ENV, "thread %d of %d could not be started (%s); use fewer with --threads",
                         pool->count + 2, count + 1, strerror(error));
            break;
        }
        pool->count++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return st;
}

sd_status sd_pool_create(sd_pool **pool, int threads)
{
    sd_pool *p = NULL;
    sd_status st;

    *pool = NULL;
    SD_TRY(st, SD_NEW(&p, 1));
    SD_TRY(st, SD_NEW(&p->workers, (uint64_t)threads));
    if (pthread_mutex_init(&p->lock, NULL) != 0 || pthread_cond_init(&p->wake, NULL) != 0 ||
        pthread_cond_init(&p->done, NULL) != 0) {
        st = SD_FAIL(SD_E_ENV, "the locks of the worker threads could not be created");
        goto out;
    }
    p->has_lock = true;
    SD_TRY(st, start_workers(p, threads - 1));
    *pool = p;
    p = NULL;
out:
    sd_pool_destroy(&p);
    return st;
}

void sd_pool_destroy(sd_pool **pool)
{
    sd_pool *p = *pool;

    if (p == NULL)
        return;
    if (p->has_lock) {
        pthread_mutex_lock(&p->lock);
        p->closing = true;
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->lock);
        for (int i = 0; i < p->count; i++)
            pthread_join(p->workers[i].thread, NULL);
        pthread_cond_destroy(&p->done);
        pthread_cond_destroy(&p->wake);
        pthread_mutex_destroy(&p->lock);
    }
    sd_free(p->workers);
    sd_free(p->scratch.memory);
    sd_free(p->shared.memory);
    sd_free(p);
    *pool = NULL;
}

sd_status sd_pool_run(sd_pool *pool, uint64_t tiles, size_t scratch_bytes, sd_tile_fn fn, const void *args)
{
    /* A page apart, so that no two threads write to one cache line or its prefetched neighbour. */
    uint64_t stride = ((uint64_t)scratch_bytes + 4095) / 4096 * 4096;
    bool alone = pool->count == 0 || tiles <= 1;
    sd_status st = SD_OK;

    SD_TRY(st, workspace_grow(&pool->scratch, stride * (uint64_t)(pool->count + 1)));
    pool->fn = fn;
    pool->args = args;
    pool->tiles = tiles;
    pool->scratch_stride = stride;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    if (!alone) {
        pthread_mutex_lock(&pool->lock);
        pool->generation++;
        pool->busy = pool->count;
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->lock);
    }
    work(pool, 0);
    if (!alone) {
        pthread_mutex_lock(&pool->lock);
        while (pool->busy > 0)
            pthread_cond_wait(&pool->done, &pool->lock);
        pthread_mutex_unlock(&pool->lock);
    }
out:
    return st;
}

sd_status sd_pool_shared(sd_pool *pool, uint64_t bytes, void **where)
{
    sd_status st;

    SD_TRY(st, workspace_grow(&pool->shared, bytes));
    *where = pool->shared.memory;
out:
    return st;
}
