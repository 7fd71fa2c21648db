#include "saediff/optim/schedule.h"

#include <math.h>

double sd_schedule_rate(const sd_schedule *schedule, uint64_t t)
{
    double up = 1, down = 1;

    if (t < schedule->warmup)
        up = (double)t / (double)schedule->warmup;
    if (t <= schedule->steps && schedule->steps - t < schedule->decay)
        down = (double)(schedule->steps - t + 1) / (double)(schedule->decay + 1);
    return schedule->peak * up * down;
}

double sd_slope_rate(const sd_slope *s, uint64_t t)
{
    static const double pi = 3.14159265358979323846;
    double p, left = 1;

    if (t <= s->warmup && s->warmup > 0)
        return s->peak * (double)t / (double)s->warmup;
    p = s->steps > s->warmup ? (double)(t - s->warmup) / (double)(s->steps - s->warmup) : 1;
    if (s->fall == SD_FALL_LINEAR)
        left = s->final + (1 - s->final) * (1 - p);
    else if (s->fall == SD_FALL_COSINE)
        left = s->final + (1 - s->final) * 0.5 * (1 + cos(pi * p));
    return s->peak * left;
}
