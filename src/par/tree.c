/* The canonical tree sum: node (level, i) covers units [i·2^level, (i+1)·2^level) that exist. A rank folds the largest
 * complete aligned nodes of its span; rank 0 receives them in unit order and finishes the tree with the same rule. */
#include <string.h>

#include "saediff/core/mem.h"
#include "saediff/par/par.h"

enum { LEVELS = 65 };

typedef struct node {
    uint64_t level, index; /* covers units index·2^level … */
} node;

/* Open nodes in unit order, each with its vector. Two stacks cannot need more than 2·64 entries. */
typedef struct forest {
    uint64_t units, width, count;
    node nodes[2 * LEVELS];
    double *vectors; /* [2·LEVELS, width] */
} forest;

static double *vector_of(forest *f, uint64_t i)
{
    return f->vectors + i * f->width;
}

/* A node that is the last of its level and a left child becomes its parent unchanged, up to the root. */
static void lift(const forest *f, node *n)
{
    while (n->index % 2 == 0 && n->level < 63 && (n->index + 1) << n->level >= f->units &&
           (uint64_t)1 << n->level < f->units) {
        n->index /= 2;
        n->level++;
    }
}

static void push(forest *f, node n, const double *vector)
{
    memcpy(vector_of(f, f->count), vector, f->width * sizeof *vector);
    lift(f, &n);
    f->nodes[f->count++] = n;
    while (f->count >= 2) {
        node *left = &f->nodes[f->count - 2], *right = &f->nodes[f->count - 1];
        double *into = vector_of(f, f->count - 2), *from = vector_of(f, f->count - 1);

        if (left->level != right->level || left->index % 2 != 0 || right->index != left->index + 1)
            return;
        for (uint64_t i = 0; i < f->width; i++)
            into[i] += from[i];
        left->index /= 2;
        left->level++;
        f->count--;
        lift(f, left);
    }
}

sd_status sd_par_tree_sum(const sd_par *par, uint64_t units, sd_span mine, const double *vectors, uint64_t width,
                          double *sum)
{
    forest f = {.units = units, .width = width}, whole = {.units = units, .width = width};
    uint64_t total = 0, before;
    node *all_nodes = NULL;
    double *all_vectors = NULL;
    sd_status st;

    SD_TRY(st, sd_par_agree(par, units ? SD_NEW(&f.vectors, 2 * LEVELS * width)
                                       : SD_FAIL(SD_E_INTERNAL, "a tree sum over no units")));
    for (uint64_t u = 0; u < mine.count; u++)
        push(&f, (node){0, mine.first + u}, vectors + u * width);
    SD_TRY(st, sd_par_prefix_u64(par, f.count, &before, &total));
    st = par->rank != 0 ? SD_OK : SD_NEW(&all_nodes, total);
    if (st == SD_OK && par->rank == 0)
        st = SD_NEW(&all_vectors, total * width);
    if (st == SD_OK && par->rank == 0)
        st = SD_NEW(&whole.vectors, 2 * LEVELS * width);
    SD_TRY(st, sd_par_agree(par, st));
    SD_TRY(st, sd_par_gather(par, f.nodes, f.count * sizeof *f.nodes, all_nodes, total * sizeof *all_nodes));
    SD_TRY(st, sd_par_gather(par, f.vectors, f.count * width * sizeof *f.vectors, all_vectors,
                             total * width * sizeof *all_vectors));
    if (par->rank == 0) {
        for (uint64_t i = 0; i < total; i++)
            push(&whole, all_nodes[i], all_vectors + i * width);
        if (whole.count != 1)
            st = SD_FAIL(SD_E_INTERNAL, "the spans of the ranks do not cover %llu units in order",
                         (unsigned long long)units);
        else
            memcpy(sum, whole.vectors, width * sizeof *sum);
    }
    st = sd_par_agree(par, st);
out:
    sd_free(f.vectors);
    sd_free(whole.vectors);
    sd_free(all_nodes);
    sd_free(all_vectors);
    return st;
}
