/* Slices go to their owners and come back, with empty ones and fewer sources than ranks. */
#include "check.h"
#include "saediff/core/mem.h"
#include "saediff/par/deal.h"

enum { MOST = 1000 };

static unsigned char element(int source, uint64_t i)
{
    return (unsigned char)(31 * source + (int)(i % 251) + 1);
}

static void test_deal(const sd_par *par, uint64_t count, uint64_t units, int sources)
{
    unsigned char vector[MOST], received[8 * MOST];
    sd_span slice[8];

    for (int r = 0; r < par->size; r++) {
        sd_span of = sd_par_split(units, r, par->size);
        uint64_t first = of.first * 7 < count ? of.first * 7 : count, end = (of.first + of.count) * 7 < count ? (of.first + of.count) * 7 : count;

        slice[r] = (sd_span){first, end - first};
    }
    for (uint64_t i = 0; i < count; i++)
        vector[i] = element(par->rank, i);
    CHECK_OK(sd_par_deal(par, par->rank < sources ? vector : NULL, sources, slice, received));
    for (int s = 0; s < sources; s++)
        for (uint64_t i = 0; i < slice[par->rank].count; i++)
            CHECK(received[(uint64_t)s * slice[par->rank].count + i] == element(s, slice[par->rank].first + i));
    for (uint64_t i = 0; i < count; i++) {
        bool own = i >= slice[par->rank].first && i < slice[par->rank].first + slice[par->rank].count;

        vector[i] = own ? element(9, i) : 0;
    }
    CHECK_OK(sd_par_collect(par, vector, slice));
    for (uint64_t i = 0; i < count; i++)
        CHECK(vector[i] == element(9, i));
}

static void test_share(const sd_par *par)
{
    const double all[] = {1.5, -0.0, (double)NAN, 3e-320, -(double)INFINITY};
    double values[5] = {0};

    for (int i = 0; i < 5; i++)
        if (i % par->size == par->rank)
            values[i] = all[i];
    CHECK_OK(sd_par_share_f64(par, values, 5));
    CHECK(memcmp(values, all, sizeof all) == 0);
}

int main(int argc, char **argv)
{
    sd_par par;

    if (sd_par_begin(&par, &argc, &argv) != SD_OK)
        return 1;
    for (int sources = 1; sources <= par.size; sources++) {
        test_deal(&par, 1000, 143, sources);
        test_deal(&par, 20, 3, sources); /* some own nothing */
        test_deal(&par, 0, 0, sources);
    }
    test_share(&par);
    sd_par_end(&par);
    return TEST_RESULT();
}
