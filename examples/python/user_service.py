"""Users on SQLAlchemy and SQLite."""

import atexit
import os
import signal
import sys

from flask import Flask, jsonify, request
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from calls import deregister_service, register_service

PORT = int(os.environ.get("PORT", "5001"))
DATABASE = os.environ.get("DATABASE", "users.db")

app = Flask(__name__)
engine = create_engine(f"sqlite:///{DATABASE}")


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    email: Mapped[str]

    def to_dict(self):
        return {"id": self.id, "name": self.name, "email": self.email}


@app.get("/api/v1/users")
def list_users():
    with Session(engine) as session:
        return jsonify([user.to_dict() for user in session.scalars(select(User))])


@app.post("/api/v1/users")
def add_user():
    data = request.get_json(silent=True)
    if not isinstance(data, dict) or not data.get("name") or not data.get("email"):
        return jsonify(error="name and email are needed"), 400
    with Session(engine) as session:
        user = User(name=data["name"], email=data["email"])
        session.add(user)
        session.commit()
        return jsonify(user.to_dict()), 201


@app.get("/user/<int:user_id>")
def get_user(user_id):
    with Session(engine) as session:
        user = session.get(User, user_id)
        if user is None:
            return jsonify(error=f"there is no user {user_id}"), 404
        return jsonify(user.to_dict())


@app.get("/healthz")
def healthz():
    return "ok"


if __name__ == "__main__":
    Base.metadata.create_all(engine)
    service_id = register_service("user-service", PORT)
    atexit.register(deregister_service, service_id)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    app.run(port=PORT, threaded=True)
