/* The gradient of rmsnorm; those of silu_mul, logprob and attention are in the files of their operations. */
#include "cuda.h"

enum { NORM_TILE = 64, LONG_ROW = 1024 };

/* factor [m, groups]: 1 / sqrt(mean(x²) + eps) of each group, and along: (Σ gain·dy·x) · factor² / n. */
struct norm_sums {
    double factor, along;
};

struct norm_job {
    sd_view<sd_real> x, gain, dy, dx;
    norm_sums *sums;
    double *part; /* [tiles, n]: dgain of NORM_TILE rows */
    double eps;
};

template <int TEAM> __global__ static void sums_kernel(norm_job a)
{
    uint64_t n = a.gain.cols, groups = a.x.cols / n, i = sd_thread() / TEAM, r = i / groups, g = i % groups * n;
    bool there = r < a.x.rows;
    double square = 0, along = 0, factor;

    for (uint64_t c = threadIdx.x % TEAM; c < n && there; c += TEAM) {
        double x = (double)a.x.row(r)[g + c];

        square += x * x;
        along += (double)(a.gain.at[c] * a.dy.row(r)[g + c]) * x;
    }
    square = sd_team_sum<TEAM>(square);
    along = sd_team_sum<TEAM>(along);
    if (!there || threadIdx.x % TEAM > 0)
        return;
    factor = 1.0 / sqrt(square / (double)n + a.eps);
    a.sums[i] = norm_sums{factor, along * factor * factor / (double)n};
}

__global__ static void dgain_tiles(norm_job a)
{
    uint64_t n = a.gain.cols, groups = a.x.cols / n, i = sd_thread(), tile = i / n, c = i % n, end = (tile + 1) * NORM_TILE;
    double sum = 0;

    if (tile >= sd_written_spans(a.x.rows, NORM_TILE))
        return;
    for (uint64_t r = tile * NORM_TILE; r < end && r < a.x.rows; r++)
        for (uint64_t g = 0; g < groups; g++)
            sum += (double)a.dy.row(r)[g * n + c] * ((double)a.x.row(r)[g * n + c] * a.sums[r * groups + g].factor);
    a.part[i] = sum;
}

__global__ static void dgain_all(const double *part, uint64_t tiles, sd_view<sd_real> dgain)
{
    uint64_t c = sd_thread();
    double sum = 0;

    if (c >= dgain.cols)
        return;
    for (uint64_t t = 0; t < tiles; t++)
        sum += part[t * dgain.cols + c];
    dgain.at[c] = (sd_real)sum;
}

/* Last, because dx may be dy. */
__global__ static void dx_kernel(norm_job a)
{
    uint64_t n = a.gain.cols, groups = a.x.cols / n, i = sd_thread(), r, c;
    norm_sums sums;

    if (i >= a.x.rows * a.x.cols)
        return;
    r = i / a.x.cols;
    c = i % a.x.cols;
    sums = a.sums[r * groups + c / n];
    a.dx.row(r)[c] = (sd_real)(sums.factor * ((double)(a.gain.at[c % n] * a.dy.row(r)[c]) - (double)a.x.row(r)[c] * sums.along));
}

sd_status sd_cuda_rmsnorm_grad(sd_dev *dev, const sd_rmsnorm_grad *a)
{
    uint64_t n = a->gain.cols, teams = a->x.rows * (a->x.cols / n), tiles = sd_written_spans(a->x.rows, NORM_TILE);
    norm_job job = {sd_view_of<sd_real>(a->x), sd_view_of<sd_real>(a->gain), sd_view_of<sd_real>(a->dy), sd_view_of<sd_real>(a->dx), NULL, NULL,
                    a->eps};
    void *workspace;

    SD_PASS(sd_cuda_scratch(dev, "rmsnorm_grad", teams * sizeof(norm_sums) + tiles * n * sizeof(double), &workspace));
    job.sums = (norm_sums *)workspace;
    job.part = (double *)(job.sums + teams);
    if (n < LONG_ROW)
        SD_PASS(sd_launch(dev, "rmsnorm_grad", sums_kernel<SD_WARP>, sd_written_spans(teams, SD_WARPS), SD_BLOCK, 0, job));
    else
        SD_PASS(sd_launch(dev, "rmsnorm_grad", sums_kernel<SD_BLOCK>, teams, SD_BLOCK, 0, job));
    SD_PASS(sd_launch(dev, "rmsnorm_grad: gain", dgain_tiles, sd_written_spans(tiles * n, SD_BLOCK), SD_BLOCK, 0, job));
    SD_PASS(sd_launch(dev, "rmsnorm_grad: gain", dgain_all, sd_written_spans(n, SD_BLOCK), SD_BLOCK, 0, (const double *)job.part, tiles,
                      sd_view_of<sd_real>(a->dgain)));
    return sd_launch(dev, "rmsnorm_grad: x", dx_kernel, sd_written_spans(a->x.rows * a->x.cols, SD_BLOCK), SD_BLOCK, 0, job);
}
