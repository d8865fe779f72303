#!/bin/sh
# Trains the runs that the documents show and copies their pictures here, in 20 minutes on one core:
#   sh docs/pictures/draw.sh [FOLDER OF THE RUNS]
# explore.png is a screenshot of `python -m vae_lab.explore run=FOLDER/cvae` at 1280 x 1120 pixels.
set -e
runs=${1:-outputs/pictures}
here=$(dirname "$0")

# picture NAME IN FIGURES, FILE HERE, RUN, WORDS OF ITS TRAINING
picture() {
    figure=$1 file=$2 run=$3
    shift 3
    [ -f "$runs/$run/metrics.json" ] || python -m vae_lab.train "$@" hydra.run.dir="$runs/$run"
    cp "$runs/$run/figures/$figure.png" "$here/$file.png"
}

picture samples_by_class samples_by_class cvae model=cvae trainer.max_epochs=10
picture manifold manifold plane model=vae latent_dim=2
picture codes codes plane
picture reconstructions reconstructions cvae
picture interpolations interpolations mhvae_fashion model=mhvae data=fashion_mnist
for name in samples levels progressive; do picture $name $name mhvae_fashion; done
picture traversals_level_2 traversals_level_2 mhvae model=mhvae 'model.latent_dims=[24,8,2]'
picture conditions_attributes conditions_attributes attributes model=cvae data=sprites data.image_size=32 latent_dim=6 \
    'network.widths=[256,256]' trainer.max_epochs=60 'data.images.condition=[square,ellipse,heart,large,right,low]' \
    data.images.num_orientations=1 data.images.num_positions=32 data.val_size=1000
picture conditions_numbers conditions_numbers numbers model=cvae data=sprites data.image_size=32 latent_dim=6 \
    'network.widths=[256,256]' trainer.max_epochs=50 'data.images.condition=[scale,x,y]'

mkdir -p "$runs"
python -c "from sklearn.datasets import load_wine; load_wine(as_frame=True).frame.to_csv('$runs/wine.csv', index=False)"
[ -f "$runs/wine/metrics.json" ] || python -m vae_lab.train data=table data.root="$runs/wine.csv" data.images.label=target model=cvae \
    latent_dim=2 trainer.max_epochs=200 callbacks.pictures.every_n_epochs=0 hydra.run.dir="$runs/wine"
python -m vae_lab.sample run="$runs/wine" y=1 num=1000 draw=sample
cp "$runs/wine/samples/samples_y1_num1000_draw_sample.png" "$here/wine.png"
